"""AlpaSim's protocol: our protos, generated modules, clients, servers and logs."""
