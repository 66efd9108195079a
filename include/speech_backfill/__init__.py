"""The core: from a manifest of audio files to tables of what was said. Knows no Airflow."""
