-- want: net.open: 
plugin { id = "attack", needs = { net = { "*:*" } },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  for i = 1, 1000 do pcall(net.open, "10.0.0.1:25") end
  return reject(net.open("10.0.0.1:25"):line())
end
