-- The chain is verified as it came, before other plugins change the message, and that result is what the seal tells: what is sealed is the
-- message as it goes out.

local function bad(key, text) error("[plugin.arc] " .. key .. ": " .. text, 0) end

local words = { none = true, defer = true, reject = true, hold = true }
for _, key in ipairs { "none", "fail", "temperror" } do
  if not words[config[key]] then bad(key, config[key] .. " is not none, defer, reject or hold") end
end

local label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
local function domain(key, text, dot)
  local name = type(text) == "string" and string.lower(text) or ""
  if not re.match("^" .. (dot and [[\.?]] or "") .. "(" .. label .. [[\.)*]] .. label .. "$", name) then
    bad(key, tostring(text) .. " is not a domain, as example.org")
  end
  return name
end

if not ({ forwarded = true, all = true, none = true })[config.seal] then bad("seal", config.seal .. " is not forwarded, all or none") end
local selector
local sealer = config.domain and config.seal ~= "none" and domain("domain", config.domain)
if config.name then domain("name", config.name) end
if sealer then
  if not config.selector then bad("selector", "name the selector, too: the public key stands in the DNS at SELECTOR._domainkey." .. sealer) end
  selector = domain("selector", config.selector)
  if config.secret and not re.match("^(arc|dkim)(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", config.secret) then
    bad("secret", config.secret .. " is not the name of a secret that begins with arc/ or dkim/")
  end
end

local inline = type(config.trusted) == "table"
local listed = {}
for _, text in ipairs(inline and config.trusted or {}) do listed[domain("trusted", text, true)] = true end

local function has(name)
  if inline then return listed[name] end
  return lookup("config.trusted", name)
end

local function trusts(name)
  if has(name) then return true end
  local dot = string.find(name, ".", 1, true)
  while dot do
    if has(string.sub(name, dot)) then return true end
    dot = string.find(name, ".", dot + 1, true)
  end
  return false
end

-- Whether each who sealed is trusted: one who is not could have made up all that is older.
local function trusted(sets)
  for _, s in ipairs(sets) do
    if not trusts(s.domain) then return false end
  end
  return true
end

local function answer(key, v)
  local text = "ARC: " .. string.sub(v.reason or "the message has no chain", 1, 300)
  if config[key] == "reject" then
    return reject { enhanced = v.result == "fail" and "5.7.29" or nil, reason = "arc " .. key, text = text }
  elseif config[key] == "defer" then
    return defer { enhanced = v.result == "fail" and "4.7.29" or nil, reason = "arc " .. key, text = text }
  elseif config[key] == "hold" then
    return hold(text)
  end
end

function on.data(m)
  local v = arc.verify()
  local my = m.my
  my.result, my.reason, my.trusted = v.result, v.reason, false
  if v.result == "pass" then
    my.sealer, my.oldest_pass = v.sets[#v.sets].domain, v.oldest_pass
    if trusted(v.sets) then my.trusted, my.assessment = true, v.sets[1].results end
  end
  if v.result ~= "pass" then return answer(v.temporary and "temperror" or v.result, v) end
end

-- Whether it is mail from elsewhere of which a copy leaves this system.
local function forwarded(m)
  if m.session.user then return false end
  for _, r in ipairs(m.rcpts) do
    if r.class == "relay" then return true end
  end
  return false
end

-- What was found when the message came in: all that auth-results tells of it, or else the chain alone.
local function assessment(m)
  local text = m.facts["auth-results.text"]
  if text then return text end
  text = (config.name or sealer) .. "; arc=" .. (m.my.result or "none")
  if m.my.oldest_pass then text = text .. " header.oldest-pass=" .. m.my.oldest_pass end
  if m.session.ip then text = text .. ' smtp.remote-ip="' .. m.session.ip .. '"' end
  return text
end

function on.queue(m)
  if not sealer or not (config.seal == "all" or forwarded(m)) then return end
  local name = config.secret or "dkim/" .. sealer .. "/" .. selector
  local key = secret(name)
  if not key then error("there is no secret " .. name) end
  local s = arc.seal { domain = sealer, selector = selector, key = key, results = assessment(m), cv = m.my.result }
  if not s then return end -- there is no place for one more set, or nothing that could be sealed
  m:add_header("ARC-Seal", s.seal)
  m:add_header("ARC-Message-Signature", s.signature)
  m:add_header("ARC-Authentication-Results", s.results)
end
