-- want: ran out of
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local text = ("a"):rep(20000)
  while true do re.match("(a+)+$", text) end
end
