-- What dmarc.check finds becomes facts; what is done about it, the operator decides for each result.

local known = { none = true, defer = true, reject = true, hold = true }
for _, key in ipairs { "fail_reject", "fail_quarantine", "fail_none", "none", "permerror", "temperror", "threat" } do
  if not known[config[key]] then
    error("[plugin.dmarc] " .. key .. ": " .. config[key] .. " is not one of none, defer, reject, hold", 0)
  end
end

local function answer(what, enhanced, text)
  if what == "reject" then
    return reject { enhanced = "5." .. enhanced, reason = "dmarc", text = text }
  elseif what == "defer" then
    return defer { enhanced = "4." .. enhanced, reason = "dmarc", text = text }
  elseif what == "hold" then
    return hold("dmarc: " .. text)
  end
end

-- A text of RFC 8601 with a space in the place of each comment, and of what stands in quotes and is no word: that is somebody else's text.
-- What begins and does not end was cut off, and counts for nothing.
local function plain(text)
  local out, at, depth = {}, 1, 0
  while true do
    local n = string.find(text, '[()"\\]', at)
    if depth == 0 then table.insert(out, string.sub(text, at, n and n - 1 or -1)) end
    if not n then return table.concat(out) end
    local c, replaced = string.sub(text, n, n), " "
    at = n + 1
    if c == "\\" then
      at = n + 2
    elseif c == "(" then
      depth = depth + 1
    elseif c == ")" then
      depth = math.max(depth - 1, 0)
    elseif depth == 0 then
      n = string.find(text, '["\\]', at)
      while n and string.sub(text, n, n) == "\\" do n = string.find(text, '["\\]', n + 2) end
      if not n then return table.concat(out) end
      local quoted = string.sub(text, at, n - 1)
      if re.match("^[A-Za-z0-9._-]+$", quoted) then replaced = quoted end
      at = n + 1
    end
    if depth == 0 then table.insert(out, replaced) end
  end
end

-- Whether somebody whose word counts here saw the message authenticated for this author domain, before it was changed on its way. What
-- he saw is told by arc.assessment, as in Authentication-Results.
local function vouched(m, from)
  local f = m.facts
  if not config.trust_arc or f["arc.result"] ~= "pass" or f["arc.trusted"] ~= true then return false end
  local pass = re.match([[(?i)(?:^|;)\s*dmarc\s*=\s*pass(?:\s([^;]*))?(?:;|$)]], plain(f["arc.assessment"] or ""))
  if not pass then return false end
  local of = re.match([[(?i)(?:^|\s)header\.from\s*=\s*([^\s;]+)]], pass[1] or "")
  local author = of and addr.parse("x@" .. of[1])
  return of == nil or author ~= nil and author.domain == from
end

function on.data(m)
  if m.facts["spf.mail"] == nil then return end -- a client that SPF is told not to check, as another server of ours
  local r = dmarc.check { spf = m.facts["spf.mail"], spf_domain = m.facts["spf.domain"], dkim = m.facts["dkim-verify.results"] }
  local my = m.my
  my.result, my.reason, my.threat = r.result, r.reason, r.threat
  my.from, my.domain, my.policy = r.from, r.domain, r.policy
  metric.count(r.threat and "threat" or r.result)

  if r.threat then
    return answer(config.threat, "7.1", "From must have the addresses of one domain: " .. r.reason)
  elseif r.result == "fail" then
    if vouched(m, r.from) then
      my.exempt = "arc"
      return
    end
    return answer(config["fail_" .. r.policy], "7.1", "not accepted by the DMARC policy of " .. r.from)
  elseif r.result == "temperror" then
    if r.policy == "none" then return end -- RFC 9989 section 5.4: what asks for nothing changes nothing
    return answer(config.temperror, "4.3", "the DNS cannot tell now whether " .. r.from .. " vouches for this message (DMARC)")
  elseif r.result == "permerror" then
    return answer(config.permerror, "7.1", "the DMARC record for " .. r.from .. " cannot be used")
  elseif r.result == "none" then
    return answer(config.none, "7.1", r.from .. " has no DMARC record")
  end
end
