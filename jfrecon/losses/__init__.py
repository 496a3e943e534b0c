"""What a reconstruction costs: terms, unreduced (`terms`), those of a face (`face`), the data term (`data_term`)."""
