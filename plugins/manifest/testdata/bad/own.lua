plugin { id = "vip",
  needs = { facts = { "spam" } },
  hook = {
    rcpt = { sets = { "vip.a", "spam.b" } },
    data = { sets = { "viper.a" } } } }
