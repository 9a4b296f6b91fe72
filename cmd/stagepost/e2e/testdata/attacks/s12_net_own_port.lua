-- want: loopback
plugin { id = "attack", needs = { net = { "*:*" } },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject(net.open("127.0.0.1:" .. r.message.session.local_port):line())
end
