"""The web page: plain ES modules, sent as they lie in `assets`."""
