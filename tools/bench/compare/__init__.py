"""Round trips, throughput and connection set-up: direct, through wstpserver, through other relays, in one run."""
