"""./run demo: the whole system on one machine, on real traffic, judged by DPS's and the hubs' records."""
