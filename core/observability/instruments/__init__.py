"""What is traded: instruments and their terms, and the currencies that names of symbols tell of."""
