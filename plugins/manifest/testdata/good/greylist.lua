plugin { id = "greylist", version = "1.0.0", api = 0, description = "strangers must try twice",
  needs = { kv = "own", dns = true, read = "headers", edit = {"headers", "rcpts"}, facts = {"spam.*"}, route = {"mx", "*:587"}, relay = false },
  config = {
    wait = { type = "duration", default = "5m", doc = "how long strangers wait" },
    keep = { type = "duration", default = "1s500ms" },
    most = { type = "size", default = "64KiB" },
    tries = { type = "int", default = -0x10 },
    strict = { type = "bool", default = false },
    zone = { type = "string", required = true },
    networks = { type = "list", default = { "127.0.0.0/8", 1.5, { true } } },
    domains = { type = "map", default = {} },
    none = { type = "list" },
  },
  facts = {
    waited = { type = "bool", of = "message", doc = "whether it had to wait" },
    seen = { type = "string", values = { "new", "old" }, of = "rcpt" },
    times = { type = "int", values = { 1, 2, -3 } },
    ["zone.*"] = { type = "list" },
  },
  hook = {
    rcpt = { when = { role = { "mx" }, listener = { "in" }, user = false }, order = 40, after = {"dnsbl"}, before = {"late"},
      reads = { "dnswl.listed?", "greylist.seen" }, sets = { "greylist.waited", "spam.score" }, on_error = "next", timeout = "2s" },
    tick = { on_error = "next" },
  } }

function on.rcpt(r) end
