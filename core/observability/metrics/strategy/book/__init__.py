"""What bookings do to the accounts: payments, corporate actions, settlements, adoptions, corrections of fills."""
