-- Rules over what remotes say: the first that fits a reply says what becomes, for a time, of the mail that goes the same way. They are
-- read once, and found by the name of the host that spoke, so that a reply is held against few of them. And ramps: what is sent
-- from a new source is bounded day by day.

local DAY = 86400

local function fail(at, text) error(at.file .. ":" .. at.line .. ": " .. text, 0) end

local function has(list, word)
  for _, w in ipairs(list) do
    if w == word then return true end
  end
  return false
end

-- only refuses keys that nothing reads.
local function only(at, what, t, keys)
  local odd
  for key in pairs(t) do
    if key ~= "file" and key ~= "line" and not has(keys, key) and (not odd or key < odd) then odd = key end
  end
  if odd then fail(at, what .. "unknown key " .. odd .. "; known: " .. table.concat(keys, ", ")) end
end

local units = { s = 1, m = 60, h = 3600, d = DAY }

-- seconds reads "90s", "1h", "1d12h".
local function seconds(at, text)
  local sum, rest = 0, text
  while type(rest) == "string" and rest ~= "" do
    local n, unit, more = string.match(rest, "^(%d+)([smhd])(.*)$")
    if not n then break end
    sum, rest = sum + tonumber(n) * units[unit], more
  end
  if rest ~= "" or sum < 1 or sum > 7 * DAY then fail(at, 'time: write a time from 1s to 7d, as "30m" or "1d12h"') end
  return sum
end

-- texts reads a text, or a list of them; nil is nil.
local function texts(at, key, v)
  if v == nil then return nil end
  if type(v) == "string" then v = { v } end
  local right = type(v) == "table" and #v > 0
  for _, s in ipairs(right and v or {}) do
    right = right and type(s) == "string" and s ~= ""
  end
  if not right then fail(at, key .. ": write a text, or a list of texts") end
  return v
end

-- codes reads 421, "45x", "4xx", or a list of them, and gives the digits that codes begin with.
local function codes(at, v)
  if v == nil then return nil end
  if type(v) ~= "table" then v = { v } end
  local out = {}
  for i, c in ipairs(v) do
    local text = tostring(c)
    if #text ~= 3 or not string.match(text, "^[245]%d?%d?x?x?$") then
      fail(at, 'code: write the code of a reply, as 421, or "45x" or "4xx"')
    end
    out[i] = string.match(text, "^%d+")
  end
  if #out == 0 then fail(at, "code: the list is empty") end
  return out
end

-- patterns turns texts in which * stands for anything into patterns of Lua.
local function patterns(list)
  if not list then return nil end
  local out = {}
  for i, text in ipairs(list) do
    out[i] = "^" .. string.gsub(string.gsub(string.lower(text), "[^%w*]", "%%%0"), "%*", ".*") .. "$"
  end
  return out
end

local function hosts(at, v)
  local list = texts(at, "hosts", v)
  if not list then return nil end
  local out = {}
  for i, name in ipairs(list) do
    if not string.match(name, "^[a-z0-9][a-z0-9.-]*$") then
      fail(at, 'hosts: write the name of exchangers in lower case, or what their names end with, as "google.com"')
    end
    out[i] = name
  end
  return out
end

local function positive(at, what, n)
  if n ~= nil and (type(n) ~= "number" or n < 1 or n > 1000000 or n ~= math.floor(n)) then
    fail(at, what .. ": write a whole number from 1 to 1000000")
  end
  return n
end

-- slow reads limits.
local function slow(at, t)
  if type(t) ~= "table" then fail(at, 'slow: write a table, as { rate = "100/h", concurrency = 2 }') end
  only(at, "slow: ", t, { "rate", "concurrency", "connection_messages" })
  local n, unit = string.match(tostring(t.rate), "^(%d+)/(%d*[smhd])$")
  if t.rate ~= nil and (not n or tonumber(n) < 1 or tonumber(n) > 1000000) then
    fail(at, 'slow.rate: write messages in a time, as "100/h" or "10/5m"')
  end
  positive(at, "slow.concurrency", t.concurrency)
  positive(at, "slow.connection_messages", t.connection_messages)
  if not t.rate and not t.concurrency and not t.connection_messages then
    fail(at, "slow: name a rate, a concurrency or connection_messages")
  end
  if unit and not string.match(unit, "^%d") then unit = "1" .. unit end
  local times, scale = string.match(unit or "1d", "^(%d+)(.)$")
  local per = tonumber(times) * units[scale]
  if per < 1 or per > 366 * DAY then fail(at, "slow.rate: write a time from 1s to 366d behind the slash") end
  return { rate = t.rate and n .. "/" .. unit, concurrency = t.concurrency, connection_messages = t.connection_messages }
end

local label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
local domain = "(" .. label .. [[\.)*]] .. label

-- reroute reads another way.
local function reroute(at, t)
  if type(t) ~= "table" then fail(at, 'reroute: write a table, as { source = "second" }') end
  only(at, "reroute: ", t, { "source", "via", "hosts", "mx" })
  local n = (t.source and 1 or 0) + (t.hosts and 1 or 0) + (t.mx and 1 or 0)
  if t.via and n == 0 then n = 1 end -- a transport
  if n ~= 1 or t.via and (t.source or t.mx) then fail(at, "reroute: name either source, or hosts, which may have via, or mx, or a transport in via") end
  for _, key in ipairs({ "source", "via", "mx" }) do
    if t[key] ~= nil and type(t[key]) ~= "string" then fail(at, "reroute." .. key .. ": write a text") end
  end
  local to = { source = t.source, via = t.via, hosts = texts(at, "reroute.hosts", t.hosts), mx = t.mx }
  for _, key in ipairs({ "source", "via" }) do
    if to[key] and not re.match("^[a-z0-9][a-z0-9_-]{0,63}$", to[key]) then fail(at, "reroute." .. key .. ": " .. to[key] .. " is not a name") end
  end
  if to.mx and not re.match("(?i)^" .. domain .. "$", to.mx) then fail(at, "reroute.mx: " .. to.mx .. " is not a domain") end
  if to.hosts and #to.hosts > 16 then fail(at, "reroute.hosts: write 16 at most") end
  for _, host in ipairs(to.hosts or {}) do
    if not re.match("(?i)^(" .. domain .. [[|\[?[0-9a-f:.]+\]?)(:[0-9]{1,5})?$]], host) then
      fail(at, "reroute.hosts: " .. host .. ' is not a host; write "relay.example.org:25"')
    end
  end
  return to
end

local ruleKeys = { "on", "hosts", "site", "code", "enhanced", "text", "slow", "suspend", "reroute", "ignore", "time", "whose", "why" }

-- rule reads one.
local function rule(t)
  only(t, "rule: ", t, ruleKeys)
  local r = { hosts = hosts(t, t.hosts), site = patterns(texts(t, "site", t.site)), code = codes(t, t.code), enhanced = patterns(texts(t, "enhanced", t.enhanced)),
    at = t.file .. ":" .. t.line, why = t.why, whose = t.whose or "source", text = t.text and "(?i)" .. tostring(t.text), on = {} }
  for _, stage in ipairs(texts(t, "on", t.on) or { "deferred", "bounced" }) do
    if stage ~= "deferred" and stage ~= "bounced" and stage ~= "delivered" then fail(t, "on: write deferred, bounced or delivered") end
    r.on[stage] = true
  end
  if t.text == "" then fail(t, "text: write what a reply has to say") end
  if r.text then
    local ok, err = pcall(re.match, r.text, "")
    if not ok then fail(t, "text: " .. string.gsub(tostring(err), "^.-re%.match: ", "")) end
  end
  if r.why ~= nil and (type(r.why) ~= "string" or #r.why > 200) then fail(t, "why: write a text of at most 200 bytes") end
  if not has({ "source", "site", "tenant", "next_hop" }, r.whose) then fail(t, "whose: write source, site, tenant or next_hop") end
  if not r.code and not r.enhanced and not r.text then fail(t, "rule: name what a reply has to say: code, enhanced or text") end
  local n = (t.slow and 1 or 0) + (t.suspend and 1 or 0) + (t.reroute and 1 or 0) + (t.ignore and 1 or 0)
  if n ~= 1 then fail(t, "rule: name one of slow, suspend, reroute and ignore") end
  if t.ignore then
    if t.ignore ~= true then fail(t, "ignore: write true") end
    return r
  end
  r.time = seconds(t, t.time)
  if t.slow then
    if r.whose == "next_hop" then fail(t, "slow: limits hang on sites; whose is source, site or tenant") end
    r.slow = slow(t, t.slow)
  elseif t.suspend then
    if t.suspend ~= true then fail(t, "suspend: write true") end
    r.suspend = true
  else
    r.reroute = reroute(t, t.reroute)
  end
  return r
end

-- ramp reads one: how many messages may go to a site on each day.
local function ramp(t)
  only(t, "ramp: ", t, { "hosts", "days" })
  if type(t.days) ~= "table" or #t.days == 0 or #t.days > 366 then fail(t, "days: write messages a day, as [50, 100, 200]") end
  for _, n in ipairs(t.days) do positive(t, "days", n) end
  return { hosts = hosts(t, t.hosts), days = t.days, at = t.file .. ":" .. t.line }
end

local function tables(t, key)
  if t[key] == nil then return {} end
  if type(t[key]) ~= "table" or #t[key] == 0 and next(t[key]) ~= nil then fail(t, key .. ": write [[" .. key .. "]]") end
  return t[key]
end

local rules, ramps = {}, {}
for _, setting in ipairs({ "rules", "providers" }) do
  local file = config[setting]
  if file then
    only(file, "", file, { "rule", "ramp" })
    for _, t in ipairs(tables(file, "rule")) do
      if type(t) ~= "table" then fail(file, "rule: write [[rule]]") end
      rules[#rules + 1] = rule(t)
    end
    for _, t in ipairs(tables(file, "ramp")) do
      if type(t) ~= "table" then fail(file, "ramp: write [[ramp]]") end
      ramps[#ramps + 1] = ramp(t)
    end
  end
end
if #rules > 1000 then error("[plugin.shaping] rules: there are " .. #rules .. " rules; the most is 1000", 0) end

local function below(name, host)
  return name == host or #name > #host and string.sub(name, -#host - 1) == "." .. host
end

local function for_host(item, name)
  if not item.hosts then return true end
  for _, host in ipairs(item.hosts) do
    if below(name, host) then return true end
  end
  return false
end

-- Of each name that rules and ramps have, those that are for it; and those for hosts with no such name.
local names = {}
for _, list in ipairs({ rules, ramps }) do
  for _, item in ipairs(list) do
    for _, host in ipairs(item.hosts or {}) do names[host] = true end
  end
end
local function select(list, name)
  local out = {}
  for _, item in ipairs(list) do
    if name and for_host(item, name) or not name and not item.hosts then out[#out + 1] = item end
  end
  return out
end
local known = {}
for name in pairs(names) do
  known[name] = { rules = select(rules, name), ramps = select(ramps, name) }
end
local others = { rules = select(rules), ramps = select(ramps) }

local watched = false -- whether a rule looks at what was delivered
for _, r in ipairs(rules) do watched = watched or r.on.delivered end

-- The first day of each new source, in seconds since 1970 (days from civil, with years that begin in March).
local first = {}
local ramping = false
for source, text in pairs(config.new) do
  local y, m, d = string.match(tostring(text), "^(%d%d%d%d)-(%d%d)-(%d%d)$")
  y, m, d = tonumber(y), tonumber(m), tonumber(d)
  if not d or m < 1 or m > 12 or d < 1 or d > 31 then
    error("[plugin.shaping] new." .. source .. ": " .. tostring(text) .. ' is not a day, as "2026-11-28"', 0)
  end
  if m <= 2 then y = y - 1 end
  local era, month = math.floor(y / 400), (m + 9) % 12
  local year = y - era * 400
  local days = era * 146097 + year * 365 + math.floor(year / 4) - math.floor(year / 100) + math.floor((153 * month + 2) / 5) + d - 1 - 719468
  first[source], ramping = days * DAY, true
end

local function of(host)
  local name = string.match(string.lower(host), "^([a-z0-9.-]+)")
  while name do
    if known[name] then return known[name] end
    name = string.match(name, "%.(.+)$")
  end
  return others
end

local function any(list, text, begins)
  if not list then return true end
  for _, p in ipairs(list) do
    if begins and string.sub(text, 1, #p) == p or not begins and string.match(text, p) then return true end
  end
  return false
end

local function fits(r, stage, site, last)
  return r.on[stage] and any(r.code, tostring(last.code), true) and any(r.enhanced, last.enhanced or "") and any(r.site, string.lower(site)) and
    (not r.text or re.match(r.text, last.text) ~= nil)
end

local function act(r, rcpt)
  local what = { time = r.time, rule = r.at, reason = r.why }
  local tenant = rcpt.message.tenant
  if r.whose == "next_hop" then
    what.next_hop, what.source = rcpt.next_hop, rcpt.source
  else
    what.site = rcpt.site
    if r.whose == "source" or r.whose == "tenant" and not tenant then what.source = rcpt.source end
    if r.whose == "tenant" then what.tenant = tenant end
  end
  if r.slow then
    what.rate, what.concurrency, what.connection_messages = r.slow.rate, r.slow.concurrency, r.slow.connection_messages
    shape.slow(what)
  elseif r.suspend then
    shape.suspend(what)
  elseif r.reroute then
    what.to = r.reroute
    shape.reroute(what)
  end
end

-- climb bounds what goes to a site from a new source, today and until the next day has its own bound.
local function climb(list, rcpt)
  local began = first[rcpt.source]
  if not began then return end
  local day = math.max(1, math.floor((now() - began) / DAY) + 1)
  local r = list[1]
  local most = r and r.days[day]
  if most then
    local last = began + (day - 1) * DAY + 26 * 3600 - now()
    if last > 0 and last <= 7 * DAY then
      shape.slow { site = rcpt.site, source = rcpt.source, rate = most .. "/1d", time = last, rule = r.at, reason = "day " .. day .. " of the source " .. rcpt.source }
    end
  end
end

local function look(stage, rcpt)
  local last, site = rcpt.last, rcpt.site
  if not last or not last.host or not site then return end -- nobody was reached
  local found = of(last.host)
  for _, r in ipairs(found.rules) do
    if fits(r, stage, site, last) then
      act(r, rcpt)
      break
    end
  end
  if ramping and rcpt.source then climb(found.ramps, rcpt) end
end

function on.deferred(rcpt) look("deferred", rcpt) end

function on.bounced(rcpt) look("bounced", rcpt) end

function on.delivered(rcpt)
  if watched or ramping then look("delivered", rcpt) end
end
