"""PDUs and messages, both ways: the bounded reader, templates, negotiation, TLS, SCP and SCU."""
