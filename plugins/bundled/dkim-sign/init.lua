-- Signs at the last moment before a message is kept, with one signature for each selector of the author's domain.

local function bad(key, what, why) error("[plugin.dkim-sign] " .. key .. ": " .. tostring(what) .. " " .. why, 0) end

local function selectors(key, text)
  if type(text) ~= "string" then bad(key, text, 'is no text of selectors; write "2026a"') end
  local list = {}
  for name in string.gmatch(text, "[^%s,]+") do
    if not re.match([[^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$]], name) then
      bad(key, name, "is no selector; one is letters, digits and -, as 2026a")
    end
    table.insert(list, string.lower(name))
  end
  if #list == 0 or #list > 10 then bad(key, '"' .. text .. '"', "names no selectors; write 1 to 10") end
  return list
end

if type(config.domains) == "table" then
  for name, text in pairs(config.domains) do
    if not re.match([[^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)+$]], name) then
      bad("domains", name, 'is not a domain; write "example.org" in lower case, or ".example.org" for all below it')
    end
    selectors("domains", text)
  end
end
for _, name in ipairs(config.selectors) do
  if type(name) ~= "string" then bad("selectors", name, "is no text") end
end
local others = #config.selectors > 0 and selectors("selectors", table.concat(config.selectors, " ")) or {}

local inline = type(config.networks) == "table"
if inline then
  local ok, why = pcall(addr.within, "::", config.networks)
  if not ok then error("[plugin.dkim-sign] networks: " .. string.gsub(why, "^.-addr%.within: ", ""), 0) end
end
local known = { submission = true, lmtp = true, api = true, sendmail = true, internal = true }
local roles = {}
for _, role in ipairs(config.roles) do
  if role == "mx" then
    bad("roles", "mx", "is how strangers come, and what they send would be signed; list networks instead")
  elseif not known[role] then
    bad("roles", role, "is not one of submission, lmtp, api, sendmail, internal")
  end
  roles[role] = true
end
for _, key in ipairs { "sign", "oversign" } do
  if #config[key] > 100 then bad(key, #config[key], "names are too many; the most is 100") end
  for _, name in ipairs(config[key]) do
    if type(name) ~= "string" or not re.match("^[!-9<-~]+$", name) then bad(key, name, "is not the name of a header field") end
  end
end
if not re.match("^(relaxed|simple)/(relaxed|simple)$", config.canonicalization) then
  bad("canonicalization", config.canonicalization, "is not known; write relaxed/relaxed")
elseif not re.match("^(none|defer|reject|hold)$", config.unsigned) then
  bad("unsigned", config.unsigned, 'is not one of "none", "defer", "reject", "hold"')
elseif config.expire and config.expire < 86400 then
  bad("expire", config.expire .. "s", "is less than mail may take; write a day at least")
elseif config.expire and config.expire > 3650 * 86400 then
  bad("expire", config.expire .. "s", "is more than ten years; leave it out for signatures that hold for ever")
end

local function ours(s)
  if roles[s.role] or config.authenticated and s.user then return true end
  local ip = s.ip
  if not ip then return false end
  if inline then return addr.within(ip, config.networks) end
  return lookup("config.networks", ip) and true or false
end

-- The domain of the author: of the first address in the one field From.
local function author(m)
  local fields = m:headers("From")
  local list = #fields == 1 and addr.list(fields[1].value)
  return list and list[1] and list[1].domain or nil
end

-- The domain to sign for, its selectors, and whether somebody wrote them down for it.
local function signer(domain)
  local text = lookup("config.domains", domain)
  if text then return domain, selectors("domains", text), true end
  local dot = string.find(domain, ".", 1, true)
  while dot do
    text = lookup("config.domains", string.sub(domain, dot))
    if text then return string.sub(domain, dot + 1), selectors("domains", text), true end
    dot = string.find(domain, ".", dot + 1, true)
  end
  return domain, others, false
end

local function keys(from)
  local domain, names, listed = signer(from)
  local found, used = {}, {}
  for _, name in ipairs(names) do
    local path = "dkim/" .. domain .. "/" .. name
    local key = secret(path)
    if key then
      table.insert(found, { selector = name, key = key })
      table.insert(used, name)
    elseif listed then
      error("there is no secret " .. path .. "; make it with: stagepost dkim keygen " .. domain .. " " .. name, 0)
    end
  end
  return domain, found, used
end

local function unsigned(why)
  metric.count("unsigned")
  if config.unsigned == "reject" then
    return reject { enhanced = "5.7.1", reason = "dkim", text = why }
  elseif config.unsigned == "defer" then
    return defer { enhanced = "4.7.1", reason = "dkim", text = why }
  elseif config.unsigned == "hold" then
    return hold(why)
  end
end

function on.queue(m)
  if not ours(m.session) then return end
  local from = author(m)
  if not from or not re.match([[^[a-z0-9_-]+(\.[a-z0-9_-]+)+$]], from) then
    return unsigned("the message has no one author to sign for")
  end
  local domain, found, used = keys(from)
  if #found == 0 then return unsigned("there is no DKIM key for " .. domain) end
  local values = dkim.sign {
    domain = domain, keys = found, sign = config.sign, oversign = config.oversign,
    canonicalization = config.canonicalization, expire = config.expire,
  }
  if #values == 0 then return unsigned("a line of the header is no field, so nobody could verify a signature") end
  for _, value in ipairs(values) do m:add_header("DKIM-Signature", value) end
  m.my.domain, m.my.selectors = domain, used
  metric.count("signed")
end
