"""The shell: Azure AI Speech batch transcription for Airflow. Translates between Airflow and the core; decides nothing."""
