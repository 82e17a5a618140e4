"""What a run did, for tools that show runs: each module writes what one of them opens."""
