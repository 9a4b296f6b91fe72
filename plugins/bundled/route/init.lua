-- The recipient's domain, or the nearest domain above it that is listed with a dot in front, names the next hop.

local function bad(key, text, why)
  error("[plugin.route] " .. key .. ": " .. tostring(text) .. " " .. why, 0)
end

local label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
local domain = "(" .. label .. [[\.)*]] .. label
local host = "^(" .. domain .. [[|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$]]

local url = "^https://" .. [[(]] .. domain .. [[|\[[0-9a-f:.]+\])(:[0-9]{1,5})?([/?][!-~]*)?$]]

-- A URL is told by its beginning; what stands behind the host is kept as it is.
local function posts(text) return string.match(string.lower(text), "^https:") end

-- plan reads "host:port", "[v6]:port", "smtp:host:port", "lmtp:host:port", "mx:domain", "transport:name" or "https://host/path"; the port
-- may be missing.
local function plan(key, text)
  if type(text) ~= "string" then bad(key, text, "is not a string") end
  local hop = string.lower(text)
  if posts(text) then
    if not re.match(url, hop) or string.find(text, "[,#]") then bad(key, text, 'is not a URL; write "https://host/path", without a comma and without #') end
    return { via = "http", hosts = { text } }
  end
  local via, rest = string.match(hop, "^(%a+):(.*)$")
  if via == "mx" then
    if not re.match("^" .. domain .. "$", rest) then bad(key, text, 'names no domain; write "mx:example.org"') end
    return { mx = rest }
  end
  if via == "transport" then
    if not re.match("^[a-z0-9][a-z0-9_-]{0,63}$", rest) then bad(key, text, 'names no transport; write "transport:NAME", as the configuration has it in [transport.NAME]') end
    return { via = rest }
  end
  if via ~= "smtp" and via ~= "lmtp" then via, rest = nil, hop end
  local port = tonumber(string.match(rest, ":(%d+)$") or 25)
  if not re.match(host, rest) or port < 1 or port > 65535 then
    bad(key, text, 'is not a next hop; write "host:port", "lmtp:host:port", "mx:domain", "transport:NAME", "https://host/path"')
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
  if hops[key] then bad("domains", key, "stands there twice, in other letters") end
  hops[key] = plan("domains." .. name, text)
end
local listed = not inline or next(hops) ~= nil
local default = config.default and plan("default", config.default)

-- Where mail goes by MX, these are tried when nobody answers for the domain.
local fallback = {}
for _, text in ipairs(config.fallback) do
  local hop = plan("fallback", text)
  if not hop.hosts or hop.via == "lmtp" or hop.via == "http" then bad("fallback", text, 'is not a host; write "host:port"') end
  fallback[#fallback + 1] = hop.hosts[1]
end
if #fallback == 0 then fallback = nil end

-- A next hop is told from a domain by its port, or by being a URL.
local function ported(hop)
  local host = hop.hosts[1]
  if hop.via == "http" then return host end
  if string.match(host, ":%d+$") then return host end
  return host .. (hop.via == "lmtp" and ":24" or ":25")
end

-- What to log in with, or to sign with, by domain as above, or by next hop.
local auth = {}
for name, a in pairs(config.auth) do
  local key = string.lower(name)
  local signs = posts(name)
  if signs then
    key = plan("auth." .. name, name).hosts[1]
  elseif string.find(key, ":", 1, true) then
    local hop = plan("auth." .. name, key)
    key = nil
    if hop.hosts then key = ported(hop) end
  elseif not re.match([[^\.?]] .. domain .. "$", key) then
    key = nil
  end
  if not key then bad("auth", name, 'is neither a domain nor a next hop; write "example.org", ".example.org" or "host:port"') end
  local by = type(a) == "table" and type(a.secret) == "string"
  if signs and not (by and a.user == nil) then
    bad("auth", name, 'needs the name of the secret that requests are signed with, and no user; write { secret = "inbound" }')
  elseif not by or a.user ~= nil and type(a.user) ~= "string" or a.user == nil and string.find(key, ":", 1, true) and not signs then
    bad("auth", name, 'needs a user and the name of a secret; write { user = "relay", secret = "smtp/example.net" }')
  end
  for field in pairs(a) do
    if field ~= "user" and field ~= "secret" and field ~= "mechanism" and field ~= "tls" then
      bad("auth." .. name, field, "is unknown; there are user, secret, mechanism and tls")
    end
  end
  if auth[key] then bad("auth", key, "stands there twice, in other words") end
  auth[key] = a
end
local secured = next(auth) ~= nil

local function at(name)
  if inline then return hops[name] end
  local text = lookup("config.domains", name)
  return text and plan("domains." .. name, text)
end

-- nearest asks get for a domain, and then for those above it.
local function nearest(get, name)
  local found = get(name)
  local dot = string.find(name, ".", 1, true)
  while not found and dot do
    found = get(string.sub(name, dot))
    dot = string.find(name, ".", dot + 1, true)
  end
  return found
end

local function login(name) return auth[name] end

-- What is posted is signed, so the secret has to be there.
local function signed(key, hop, name)
  if hop and hop.via == "http" and not auth[hop.hosts[1]] and not (name and nearest(login, name)) then
    bad(key, hop.hosts[1], 'has no secret to sign requests with; write auth."' .. hop.hosts[1] .. '" = { secret = "inbound" }')
  end
end
signed("default", default)
for name, hop in pairs(hops) do signed("domains." .. name, hop, name) end

function on.route(r)
  local name = r.address.domain
  local hop = listed and nearest(at, name) or default
  if fallback and not hop and r.class == "relay" then hop = { mx = name, public = true } end -- the operator did not name that domain
  if not hop then return end
  if fallback and hop.mx then hop = { mx = hop.mx, hosts = fallback, public = hop.public } end
  if not secured then return route(hop) end
  local a = nearest(login, name)
  if not a and hop.hosts then a = auth[ported(hop)] end
  return route{ via = hop.via, hosts = hop.hosts, mx = hop.mx, public = hop.public, auth = a }
end
