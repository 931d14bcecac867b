"""Real model servers, unequal in speed, under real load: meshlb beside gRPC's round_robin."""
