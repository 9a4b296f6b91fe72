plugin { id = "vip",
  hook = {
    rctp = {},
    rcpt = { when = { role = "mx", usr = true }, background = "yes", order = "first", timeout = "1ms" },
    tick = { on_error = "reject", every = "999ms", order = 3 },
    data = { reads = { "spf" }, sets = { "other.score" }, after = { "Bad Name" }, on_error = "defr" },
    queue = { background = true, sets = { "vip.score" } },
    mail = { background = true },
    helo = { background = true, sets = { "vip.score" }, on_error = "next" } },
}
