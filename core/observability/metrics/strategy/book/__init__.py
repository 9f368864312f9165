"""What bookings do to the accounts: payments, corporate actions, settlements."""
