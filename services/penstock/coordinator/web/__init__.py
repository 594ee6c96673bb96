"""The web page: plain ES modules, served unchanged from `assets`."""
