"""Train networks in too little memory: profile, plan, run."""
