"""An HTTP server that speaks the contract of Azure AI Speech batch transcription, for laptops and tests."""
