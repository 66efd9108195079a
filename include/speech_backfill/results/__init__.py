"""Reading what the service hands back: result files and reports, each alone, so one bad file costs itself only."""
