plugin { id = "vip", versoin = "1.0.0",
  needs = { dsn = true,
    htp = {"x:80"}, kv = "mine", read = "heders", edit = {"headers", "boddy"}, facts = {"SPAM"}, route = {"*.example.org"}, relay = 1 },
  config = { wait = { type = "durration" }, Wait = { type = "int" }, size = { type = "size", default = "5 MB" },
    both = { type = "int", default = 1, required = true },
    none = {}, int = { type = "int", default = 1.5 }, map = { type = "map", default = {1} },
    n = 5 },
}
