-- The recipient's domain, or the nearest domain above it that is listed with a dot in front, names the next hop.

local function bad(key, text, why)
  error("[plugin.route] " .. key .. ": " .. tostring(text) .. " " .. why, 0)
end

local label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
local domain = "(" .. label .. [[\.)*]] .. label
local host = "^(" .. domain .. [[|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$]]

-- plan reads "host:port", "[v6]:port", "smtp:host:port", "lmtp:host:port" or "mx:domain"; the port may be missing.
local function plan(key, text)
  if type(text) ~= "string" then bad(key, text, "is not a string") end
  local hop = string.lower(text)
  local via, rest = string.match(hop, "^(%a+):(.*)$")
  if via == "mx" then
    if not re.match("^" .. domain .. "$", rest) then bad(key, text, 'names no domain; write "mx:example.org"') end
    return { mx = rest }
  end
  if via ~= "smtp" and via ~= "lmtp" then via, rest = nil, hop end
  local port = tonumber(string.match(rest, ":(%d+)$") or 25)
  if not re.match(host, rest) or port < 1 or port > 65535 then
    bad(key, text, 'is not a next hop; write "host:port", "lmtp:host:port", "mx:domain"')
  end
  return { via = via, hosts = { rest } }
end

-- Where the operator names a lookup, it is asked for each domain; what a table holds is checked now.
local inline = type(config.domains) == "table"
local hops = {}
for name, text in pairs(inline and config.domains or {}) do
  local key = string.lower(name)
  if not re.match([[^\.?]] .. domain .. "$", key) then
    bad("domains", name, 'is not a domain; write "example.org", or ".example.org" for all below it')
  end
  hops[key] = plan("domains." .. name, text)
end
local listed = not inline or next(hops) ~= nil
local default = config.default and plan("default", config.default)

local function at(name)
  if inline then return hops[name] end
  local text = lookup("config.domains", name)
  return text and plan("domains." .. name, text)
end

local function find(name)
  if not listed then return default end
  local hop = at(name)
  if hop then return hop end
  local dot = string.find(name, ".", 1, true)
  while dot do
    hop = at(string.sub(name, dot))
    if hop then return hop end
    dot = string.find(name, ".", dot + 1, true)
  end
  return default
end

function on.route(r)
  local hop = find(r.address.domain)
  if hop then return route(hop) end
end
