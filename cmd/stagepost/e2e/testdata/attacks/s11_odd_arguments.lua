-- answer: 550 5.7.1 all were refused
plugin { id = "attack", needs = { kv = "own", edit = { "headers", "sender", "rcpts" } },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "5s" } } }

-- Everything that a handler can call is called with what it cannot want. Some calls are right by accident; none may break more
-- than this call.
local odd = { true, 0, -1, 0 / 0, 1 / 0, -1 / 0, 2 ^ 63, -2 ^ 63, 1e308, 0.5, "", "\0", "\255", "\r\n", ("x"):rep(70000), {}, { {} }, { [0.5] = 1 } }

local functions = {
  kv.get, kv.set, kv.add, kv.incr, kv.delete, re.match, hash.sha256, hash.hmac, json.encode, json.decode, addr.parse, addr.list,
  addr.network, addr.reverse, log.info, reject, defer, close, accept, discard, hold, route, each,
}

local function try(f, ...)
  for i = 0, #odd do
    pcall(f, odd[i], ...)
    pcall(f, odd[i], odd[#odd - i], ...)
  end
end

function on.rcpt(r)
  local circle = {}
  circle[1], circle.x = circle, circle
  for _, f in ipairs(functions) do
    try(f)
    for _, v in ipairs { r, r.message, circle, try, f } do
      pcall(f, v)
      pcall(f, "k", v, v, v)
    end
  end
  for _, method in ipairs { r.message.add_header, r.message.schedule, r.rename } do
    for _, v in ipairs(odd) do
      pcall(method, r.message, v, v)
      pcall(method, r, v, v)
    end
  end
  for _, v in ipairs(odd) do
    pcall(function() return r[v] end)
    pcall(function() r[v] = v end)
    pcall(function() return r.facts[v] end)
    pcall(function() r.facts[v] = v end)
    pcall(function() r.my[v] = circle end)
  end
  return reject "all were refused"
end
