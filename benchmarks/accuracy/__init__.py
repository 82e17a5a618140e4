"""What cuts cost in accuracy: a campaign of real training, and the model of it that ships with the product."""
