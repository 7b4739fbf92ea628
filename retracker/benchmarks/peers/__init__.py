"""Other people's methods behind our call signatures: adapters, each of which needs its package installed."""
