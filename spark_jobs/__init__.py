"""Text at scale: each job can be submitted by itself, to this machine or to a cluster."""
