plugin { id = "vip",
  facts = {
    a = { type = "strng", of = "mesage", doc = 5, values = "x", kind = 1 },
    b = { values = { "x" } },
    c = { type = "string", values = {} },
    d = { type = "int", values = { 1, "2", 1.5, { 3 }, 1 } },
    e = { type = "string", values = { "x", 1, "x" } },
    f = { type = "bool", values = { true } },
    ["vip.*.x"] = { type = "int" }, ["*"] = { type = "int" }, [""] = { type = "int" },
    g = "string",
  } }

function on.rcpt(r) end
