"""From a source (a manifest file, or a container and a prefix) to a stream of lines; never to a list in memory."""
