return "PART"
