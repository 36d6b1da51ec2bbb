"""From an adapter's inputs to outputs: one scheduler for all sessions, standby engines, CPU share."""
