-- Leaves what came of the signatures as facts, and answers what the operator wants of each result.

local words = { none = true, defer = true, reject = true, hold = true }
for _, result in ipairs { "none", "fail", "permerror", "temperror" } do
  if not words[config[result]] then
    error("[plugin.dkim-verify] " .. result .. ": " .. config[result] .. ' is not one of "none", "defer", "reject", "hold"', 0)
  end
end
if config.signatures < 1 or config.signatures > 50 then
  error("[plugin.dkim-verify] signatures: write a number from 1 to 50", 0)
elseif config.time <= 0 or config.time > 60 then
  error("[plugin.dkim-verify] time: write a time from 1s to 60s", 0)
end

local texts = {
  none = "the message has no DKIM signature",
  fail = "no DKIM signature fits the message",
  permerror = "no DKIM signature of the message can be verified",
  temperror = "the key of a DKIM signature cannot be fetched now",
}

-- The reason of the first signature with that result.
local function why(report)
  for _, r in ipairs(report.results) do
    if r.result == report.result and not r.testing then
      return "dkim: " .. report.result .. (r.domain and " of " .. r.domain or "") .. ": " .. r.reason
    end
  end
  return "dkim: " .. report.result
end

function on.data(m)
  local report = dkim.verify { signatures = config.signatures, length = config.length, time = config.time }
  m.my.result, m.my.results, m.my.untried = report.result, report.results, report.untried
  metric.count(report.result)
  local answer = config[report.result]
  if answer == "reject" then
    return reject { enhanced = "5.7.20", reason = why(report), text = texts[report.result] }
  elseif answer == "defer" then
    return defer { enhanced = "4.7.20", reason = why(report), text = texts[report.result] }
  elseif answer == "hold" then
    return hold(why(report))
  end
end
