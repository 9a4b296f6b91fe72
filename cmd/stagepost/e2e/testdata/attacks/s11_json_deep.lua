-- want: json.decode
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local text = ("["):rep(100000)
  for _ = 1, 10 do assert(not pcall(json.decode, text)) end
  json.decode(text)
end
