"""An IoT hub's service API: identity registry, twins, queries, statistics and throttles over its records."""
