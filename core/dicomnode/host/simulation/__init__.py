"""The node's own state machine on a folder of files: no sockets, a clock that is set by hand."""
