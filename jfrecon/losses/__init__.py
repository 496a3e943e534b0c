"""Loss terms, unreduced, each with its paper and equation (`terms`)."""
