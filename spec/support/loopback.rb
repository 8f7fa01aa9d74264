# A small HTTP server on loopback, and what it was asked.

require 'socket'

class Loopback
  attr_reader :port, :paths

  # The block answers a path with a status, or with nil for silence.
  def initialize(address = '127.0.0.1', &answer)
    @server = TCPServer.new(address, 0)
    @port = @server.addr[1]
    @paths = []
    @thread = Thread.new { loop { serve(@server.accept, answer) } }
    @thread.report_on_exception = false
  end

  def close
    @thread.kill
    @server.close
  end

  private

  def serve(client, answer)
    path = client.gets.to_s.split[1]
    nil until client.gets.to_s.strip.empty?
    @paths << path
    status = answer.call(path)
    return @silent = client unless status

    client.write("HTTP/1.1 #{status} X\r\nServer: copilot\r\nContent-Length: 7\r\nConnection: close\r\n\r\nanswer\n")
    client.close
  end
end
