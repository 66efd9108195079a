"""What a person does in the browser: log in, read a DAG's manual, fill in the form, run it, see it go green."""

from __future__ import annotations

import os

import pytest

from end_to_end.deployment import Deployment
from local import browser as chromium
from local.keys import LOGIN_NAME

pytestmark = [pytest.mark.airflow, pytest.mark.azurite, pytest.mark.browser]


@pytest.fixture(scope="module")
def page(deployment: Deployment):
    """A page of headless Chromium, logged in."""
    found = chromium.find(deployment.stack.checkout)
    if found is None:
        pytest.skip("no Chromium on this machine and none from npm: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=list(chromium.FLAGS),
            env=chromium.environment(deployment.stack.checkout, dict(os.environ)),
        )
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(60_000)
        opened.goto(deployment.stack.airflow.address)
        opened.fill('input[name="username"]', LOGIN_NAME)
        opened.fill('input[name="password"]', deployment.stack.keys.admin_password)
        opened.keyboard.press("Enter")
        opened.wait_for_selector("text=Dags")
        yield opened
        browser.close()


@pytest.mark.parametrize(
    ("dag_id", "heading"),
    [
        ("speech_backfill_daily", "Every night"),
        ("speech_backfill_manifest", "From the form"),
        ("speech_backfill_repair", "Repair"),
    ],
)
def test_a_dag_opens_with_its_manual(page, deployment: Deployment, dag_id: str, heading: str):
    """The book beside the DAG's name shows the module's docstring."""
    page.goto(f"{deployment.stack.airflow.address}/dags/{dag_id}")
    page.click('button[aria-label="Dag Docs"]')
    page.wait_for_selector(f'[role="dialog"] >> text={heading}')
    page.keyboard.press("Escape")


def test_the_form_runs_a_partition_until_it_is_green(page, deployment: Deployment):
    """Source and partition are typed in; the run that starts ends as success and is published."""
    deployment.upload("form/1.wav", "form/2.wav")
    deployment.stack.airflow.api.patch("/dags/speech_backfill_manifest", {"is_paused": False})
    page.goto(f"{deployment.stack.airflow.address}/dags/speech_backfill_manifest")
    page.click('button:has-text("Trigger")')
    page.fill('input[name="element_source"]', "az://recordings/form/")
    page.fill('input[name="element_partition"]', "from-the-form")
    page.locator('[role="dialog"] button:has-text("Trigger")').last.click()
    page.wait_for_url("**/runs/**")
    run_id = page.url.split("/runs/", 1)[1].split("/", 1)[0].split("?", 1)[0]

    assert (
        deployment.ended("speech_backfill_manifest", run_id.replace("%3A", ":").replace("%2B", "+"))
        == "success"
    )
    page.reload()
    page.wait_for_selector("text=Success")
    assert len(deployment.table("outcomes", "from-the-form")) == 2


def test_the_connection_type_has_a_form(page, deployment: Deployment):
    """Endpoint and key have fields of their own."""
    page.goto(f"{deployment.stack.airflow.address}/connections")
    page.locator('button:has-text("Add Connection")').first.click()
    page.locator('[role="combobox"]').last.click()
    page.keyboard.type("azure_speech")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Key (or client secret)")
    page.wait_for_selector('input[placeholder*="api.cognitive.microsoft.com"]')
