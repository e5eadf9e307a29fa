"""What every room of the host may use: events, failpoints, what the operating system offers."""
