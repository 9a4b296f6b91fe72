plugin { id = "vip",
  hook = {
    rctp = {},
    rcpt = { when = { role = "mx", usr = true }, background = true, order = "first", timeout = "1ms" },
    tick = { on_error = "reject", every = "999ms", order = 3 },
    data = { reads = { "spf" }, sets = { "other.score" }, after = { "Bad Name" }, on_error = "defr" } },
}
