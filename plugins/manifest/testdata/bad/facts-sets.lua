plugin { id = "vip",
  needs = { facts = { "spam.*" } },
  facts = { mail = { type = "string" }, ["zone.*"] = { type = "int" } },
  hook = {
    mail = { sets = { "vip.mail", "vip.zone.*", "vip.zone.a", "spam.score", "vip.*" }, reads = { "vip.mail", "other.fact" } },
    rcpt = { sets = { "vip.mial" }, reads = { "vip.zon.a?" } },
  } }

function on.rcpt(r) end
