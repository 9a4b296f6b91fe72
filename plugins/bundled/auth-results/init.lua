-- Forged fields go, whoever brings the message. Ours is added where a check was made, and to all mail from strangers.

local field = "Authentication-Results"

local names
for _, name in ipairs(config.also) do
  if type(name) ~= "string" or name == "" then error("[plugin.auth-results] also: " .. tostring(name) .. " is not a name", 0) end
end
if #config.also > 99 then error("[plugin.auth-results] also: there are " .. #config.also .. " names; the most is 99", 0) end
if config.name then
  if not re.match("^[!-~]{1,253}$", config.name) then error("[plugin.auth-results] name: " .. config.name .. " is not a name", 0) end
  names = { config.name }
  for _, name in ipairs(config.also) do table.insert(names, name) end
end

-- Places of forged fields, from the last; 0 is one that cannot be taken out.
local function forged()
  local places = {}
  for _, list in ipairs { authres.forged(names), not names and #config.also > 0 and authres.forged(config.also) or {} } do
    for _, n in ipairs(list) do places[n] = true end
  end
  local sorted = {}
  for n in pairs(places) do table.insert(sorted, n) end
  table.sort(sorted, function(a, b) return a > b end)
  return sorted
end

local function results(m)
  local list = {}
  local function fact(name)
    local v = m.facts[name]
    if v == nil then v = m.session.facts[name] end
    return v
  end
  local function add(method, result, reason, ...)
    if result then table.insert(list, { method = method, result = result, reason = reason, properties = { ... } }) end
  end

  add("iprev", fact "iprev.result", nil, { "policy.iprev", m.session.ip })
  add("spf", fact "spf.helo", nil, { "smtp.helo", m.session.helo })
  add("spf", fact "spf.mail", nil, { "smtp.mailfrom", fact "spf.domain" }) -- the domain alone, which all programs understand
  local dmarc = fact "dmarc.result"
  add("dmarc", dmarc, dmarc ~= "pass" and fact "dmarc.reason" or nil, { "header.from", fact "dmarc.from" }, { "policy.dmarc", fact "dmarc.policy" })
  local sealer, oldest = fact "arc.sealer", fact "arc.oldest_pass"
  add("arc", fact "arc.result", sealer and "sealed by " .. sealer, { "smtp.remote-ip", m.session.ip }, { "header.oldest-pass", oldest and string.format("%d", oldest) })
  local signatures = fact "dkim-verify.results" -- the last: a field has an end, and strangers say how many they are and how long
  for _, s in ipairs(signatures or {}) do
    add("dkim", s.result, s.result ~= "pass" and s.reason or nil, { "header.d", s.domain }, { "header.i", s.identity }, { "header.s", s.selector }, { "header.a", s.algorithm }, { "header.b", s.b })
  end
  if signatures and #signatures == 0 then add("dkim", "none") end
  return list
end

function on.data(m)
  local gone = forged()
  if gone[#gone] == 0 then
    metric.count("forged")
    return reject { enhanced = "5.6.0", reason = "auth-results", text = "a line of the header is no field, and behind it stand results in the name of this server" }
  end
  if #gone > 100 then
    m:remove_header(field)
  else
    for _, n in ipairs(gone) do m:remove_header(field, n) end
  end
  if #gone > 0 then
    metric.count("forged", #gone)
    log.info("fields that others wrote under our name were taken out", { fields = #gone })
  end
  local list = results(m)
  if #list > 0 or m.session.role == "mx" and not m.session.user then
    local text = authres.compose(list, config.name)
    m:add_header(field, text)
    m.my.text = text
  end
end
