"""JSON Schemas of all that the server answers and sends: types, units, meanings and examples; and what the fields of
events mean."""
