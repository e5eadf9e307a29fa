"""Tags, value representations, texts, UIDs, and the IOD tables of PS3.3."""
