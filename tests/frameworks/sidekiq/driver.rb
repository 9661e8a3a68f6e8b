# Sidekiq's own API, for the tests: producer and counts on stdin and stdout, or what its command line loads.
require "sidekiq"
require "sidekiq/api"
require "json"

Sidekiq.strict_args!(false) if Sidekiq.respond_to?(:strict_args!)
Sidekiq.configure_client { |config| config.redis = {url: ENV.fetch("BROKER")} }
Sidekiq.configure_server { |config| config.redis = {url: ENV.fetch("BROKER")} }

class Work
  include Sidekiq::Worker

  def perform(seconds)
    sleep(seconds)
  end
end

class Fail
  include Sidekiq::Worker
  sidekiq_options retry: 0

  def perform
    raise "fails"
  end
end

if $PROGRAM_NAME == __FILE__
  $stdin.each_line do |line|
    command, *words = line.split
    answer =
      case command
      when "perform" then words[0].to_i.times { Work.set(queue: words[1]).perform_async(600) }
      when "perform_in" then words[0].to_i.times { Work.set(queue: words[1]).perform_in(words[2].to_f, 600) }
      when "fail" then words[0].to_i.times { Fail.set(queue: words[1]).perform_async }
      when "counts"
        {queued: Sidekiq::Queue.new(words[0]).size, scheduled: Sidekiq::ScheduledSet.new.size,
         retries: Sidekiq::RetrySet.new.size, dead: Sidekiq::DeadSet.new.size, busy: Sidekiq::Stats.new.workers_size}
      end
    puts JSON.generate(answer)
    $stdout.flush
  end
end
