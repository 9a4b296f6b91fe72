-- The plugin in Lua that does what a case says. See plugins/conformance.
local dispatch = require "lib/dispatch"

local function plain(object, typ)
  local m = {}
  for _, field in ipairs(dispatch.fields[typ]) do
    local name, of = field[1], field[2]
    local v = object[name]
    if v == nil then
      m[name] = nil
    elseif of == "handle" then
      m[name] = "object"
    elseif of == "facts" then
      m[name] = { known = v["p.known"] }
    elseif of == "my" then
      m[name] = { known = v.known }
    elseif of == "rcpts" then
      m[name] = {}
      for i, r in ipairs(v) do m[name][i] = r.address.text end
    elseif of == "parts" then
      m[name] = {}
      for i, p in ipairs(v) do m[name][i] = p.type end
    elseif of:sub(-2) == "[]" then
      m[name] = {}
      for i, e in ipairs(v) do m[name][i] = plain(e, of:sub(1, -3)) end
    elseif of ~= "" then
      m[name] = plain(v, of)
    else
      m[name] = v
    end
  end
  return m
end

local function verdict(v)
  if v.kind == "each" then
    local i = 0
    return each(function(r)
      i = i + 1
      return verdict(v.verdicts[i])
    end)
  end
  local make = dispatch.verdicts[v.kind]
  if not make then return nil end
  local args, n = {}, 0
  for key, value in pairs(v) do
    if key ~= "kind" then args[key] = value n = n + 1 end
  end
  if n == 0 then return make() end
  if v.class then return make(v.class) end
  if v.kind == "discard" or v.kind == "hold" then return make(v.reason) end
  return make(args)
end

local function report(v) log.info("got", { value = v }) end

local does = {}

function does.fields(o, c) report(plain(o, c.object)) end

function does.verdict(_, c) return verdict(c.verdict) end

function does.edits(o, c)
  for _, e in ipairs(c.edits) do
    local name = e[1]:match("%.(.*)$")
    o[name](o, unpack(e, 2))
  end
end

function does.service(_, c)
  local results = { dispatch.services[c.service](unpack(c.args)) }
  if c.service == "re.match" and results[1] then -- a list and a map in one, which values cannot be
    local named = {}
    for k, v in pairs(results[1]) do named[tostring(k)] = v end
    results[1] = named
  end
  if #results > 1 then
    report(results)
  else
    report(results[1])
  end
end

function does.fact(o, c)
  o.my[c.my] = c.value
  o.facts[c.name] = c.value
  report { o.my[c.my], o.facts[c.name] }
end

function does.header(m, c)
  report { m:header(c.name), m:header(c.name, 2), m:header(c.name, 3) ~= nil }
end

function does.headers(m, c) report(m:headers(c.name ~= "" and c.name or nil)) end

function does.read(m)
  report { m.content:read(9, 3), m.content:read(1000, 3), #m.content:read(0, 1000) }
end

function does.chunks(m)
  local all = {}
  for piece in m.content:chunks(16) do all[#all + 1] = piece end
  report(all)
end

function does.text(m) report { m.parts[1]:text(), m.parts[1].content:read(0, 4), m.parts[1].content.size } end

function does.post(m)
  local part = http.request { url = "https://api.example/", body = m.parts[1].content }
  local whole = http.request { url = "https://api.example/", body = m.content }
  report { part.body, #whole.body }
end

function does.talk()
  local c = net.open("talk.example:7")
  c:send("one\r\ntwo")
  local line, two = c:line(), c:read(3)
  c:send("end\n")
  local last, none = c:line(), c:line() == nil
  c:close()
  report { line, two, last, none, not pcall(c.line, c) }
end

function does.rewrite(m)
  local start, seen, ended = m.body_start, nil, nil
  m:rewrite(function(chunk, last)
    seen, ended = chunk, last
    return chunk .. "end"
  end)
  report { start, seen, ended }
end

function does.settings()
  local s = config
  report { s.bool, s.int, s.string, s.duration, s.size, s.list, s.map }
end

function does.fail() error("it cannot be told", 0) end

if config.case["do"] == "refuse" then error("these settings are refused", 0) end

local function run(asked)
  local c, o = config.case, asked
  for _, name in ipairs(c.path or {}) do o = o[name] end
  return does[c["do"]](o, c)
end

function on.connect(o) return run(o) end
function on.helo(o) return run(o) end
function on.auth(o) return run(o) end
function on.mail(o) return run(o) end
function on.rcpt(o) return run(o) end
function on.data(o) return run(o) end
function on.queue(o) return run(o) end
function on.route(o) return run(o) end
function on.deliver(o) return run(o) end
function on.delivered(o) return run(o) end
function on.deferred(o) return run(o) end
function on.bounced(o) return run(o) end
function on.disconnect(o) return run(o) end
function on.tick(o) return run(o) end
