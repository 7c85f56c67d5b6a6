# SPDX-License-Identifier: MIT
package Spendgate::LLM;

# examples/llm-proxy in front of a provider's stand-in, for its tests: with the example's own files, in which only paths,
# names and the token are replaced, each found exactly once.
use strict;
use warnings;

use Carp qw(croak);
use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Spendgate::E2E;
use Time::HiRes qw(sleep time);

use constant PROVIDER_KEY => 'sk-provider-secret';

my $json = JSON::PP->new->utf8->canonical;

# new(KIND, settings => { member => PHP text }, spendgate => [[ pattern, replacement ], ...], children => N)
sub new {
    my ($class, $kind, %option) = @_;
    my $gate = Spendgate::E2E->new(
        root => 'examples/llm-proxy/www',
        php  => {
            PHP_FCGI_CHILDREN  => $option{children} // 8,
            LLM_PROXY_SETTINGS => 'LATER',
        },
        explain => 0,
    );
    my $self = bless { gate => $gate, kind => $kind }, $class;
    my $top = Spendgate::E2E::checkout();
    $gate->copy_tree("$top/clients",            'clients');
    $gate->copy_tree("$top/examples/llm-proxy", 'examples/llm-proxy');
    mkdir $gate->path('spool') or die "spool: $!";
    $gate->_own($gate->path('spool'));
    $gate->_copy("$top/tests/llm-standin", 'bin/llm-standin', 0755);
    my $ready = $gate->path('run/llm.url');
    $gate->start(
        'llm',
        [ $gate->path('bin/llm-standin'), '--ready-file', $ready, '--log', $gate->path('log/llm.jsonl'), '--key', PROVIDER_KEY ],
        ready => sub { -e $ready }
    );
    ($self->{upstream}) = $gate->read_file('run/llm.url') =~ /\A(\S+)/;
    $gate->start_clerk;
    $self->_settings(%option);
    $gate->write_file('etc/prices.csv', <<'END');
provider,model,input,cache_read,output,output.flex
openai,gpt-4o,2.5,1.25,10,5
openai,gpt-4o-mini,0.15,0.075,0.6,0.3
openai,text-embedding-3-small,0.02,,,
END
    $gate->_migrate if !Spendgate::E2E::on_sqlite();
    $gate->cli('migrate') if Spendgate::E2E::on_sqlite();
    my ($exit, $out, $err) = $gate->cli('price', 'import', $gate->path('etc/prices.csv'));
    $exit == 0 or croak "price import: $err";
    my $example = $gate->path('examples/llm-proxy');
    my $extra =
      $kind =~ /lighttpd/
      ? 'include "' . $self->_replace("$example/lighttpd.conf", [ qr{"/srv/llm-proxy"}, qq("$example") ]) . '"'
      : "Define LLM_PROXY_ROOT $example\nDefine LLM_PROXY_FPM " . $gate->path('run/php.sock') . qq(\nInclude "$example/apache.conf"\n);
    $gate->start_web($kind, guarded => '/v1/', extra => $extra, workers => 8);
    return $self;
}

sub gate { return $_[0]{gate} }
sub port { return $_[0]{gate}->port }

# Replace in a file of the example, in its copy.
sub _replace {
    my ($self, $path, @changes) = @_;
    open my $in, '<', $path or croak "$path: $!";
    my $text = do { local $/; <$in> };
    close $in;
    for my $change (@changes) {
        my ($pattern, $with) = @$change;
        my $found = $text =~ s/$pattern/$with/g;
        $found == 1 or croak "$path: " . ($found || 0) . " times $pattern";
    }
    my $gate = $self->{gate};
    return $gate->write_file($path =~ s{\A\Q@{[ $gate->path('') ]}\E/?}{}r, $text);
}

sub _settings {
    my ($self, %option) = @_;
    my $gate    = $self->{gate};
    my $example = $gate->path('examples/llm-proxy');
    my $token   = sub { sprintf qq(    token "%s" { sha256 = "%s"  role = "%s" }\n), $_[0], sha256_hex($_[1]), $_[0] };
    my $path    = $self->_replace(
        "$example/spendgate.conf",
        [ qr{sqlite:/var/lib/spendgate/spendgate\.db}, $gate->store_url ],
        [ qr{/run/spendgate/cache\.db},                $gate->path('cache/cache.db') ],
        [ qr{"/etc/spendgate/clerk_secret_key"},       '"' . $gate->path('etc/clerk_secret_key') . qq("\n    api_url = "$gate->{clerk_url}") ],
        [ qr{token "proxy" \{ sha256 = "0{64}"  role = "post" \}},
            join '', map { $token->(@$_) } [ post => Spendgate::E2E::POST_TOKEN() ], [ read => Spendgate::E2E::READ_TOKEN() ] ],
        @{ $option{spendgate} // [] },
    );
    $gate->write_file('etc/spendgate.conf', $gate->read_file('examples/llm-proxy/spendgate.conf'));
    $gate->write_file('etc/provider_key', PROVIDER_KEY . "\n", 0600);
    my %change = (upstream => "'$self->{upstream}'", key_file => "'" . $gate->path('etc/provider_key') . "'", %{ $option{settings} // {} });
    $self->_replace("$example/settings.php", map { [ qr{(?<='$_' => )[^\n]+?(?=,(?:\s*//[^\n]*)?\n)}, $change{$_} ] } keys %change);
    $gate->{option}{php}{LLM_PROXY_SETTINGS}       = "$example/settings.php";
    $gate->{option}{php}{SPENDGATE_SPOOL_DIR}      = $gate->path('spool');
    $gate->{option}{php}{SPENDGATE_HOLD_TTL}       = $option{hold_ttl} // '2m';
    $gate->{option}{php}{SPENDGATE_TRACKER_TIMEOUT} = 5;
    return;
}

# What the provider was asked, newest last; and what became of its streams.
sub asked { my ($self) = @_; return grep { $_->{path} } $self->provider_log }

sub provider_log {
    my ($self) = @_;
    return map { $json->decode($_) } split /\n/, $self->{gate}->read_file('log/llm.jsonl');
}

# ->post(KEY, PATH, BODY): { status, headers, body, json }.
sub post {
    my ($self, $key, $path, $body, %option) = @_;
    my $answer = $self->{gate}->decided('POST', $path, key => $key, body => ref $body ? $json->encode($body) : $body,
        headers => [ [ 'Content-Type', 'application/json' ] ], timeout => 60, %option);
    $answer->{json} = eval { $json->decode($answer->{body}) };
    return $answer;
}

# A chat whose last message orders the stand-in.
sub chat {
    my ($self, $order, %more) = @_;
    return { model => 'gpt-4o', max_tokens => 100, messages => [ { role => 'user', content => $json->encode($order) } ], %more };
}

# A stream: { status, events => [decoded or text], at => [seconds of each], done }. `hang_up`: after so many events.
sub stream {
    my ($self, $key, $path, $body, %option) = @_;
    my $text   = $json->encode({ %$body, stream => JSON::PP::true });
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->port, Timeout => 10) or die "connect: $!";
    my $begin  = time;
    print {$socket} "POST $path HTTP/1.1\r\nHost: 127.0.0.1:@{[ $self->port ]}\r\nAuthorization: Bearer $key\r\n"
      . "Content-Type: application/json\r\nContent-Length: @{[ length $text ]}\r\nConnection: close\r\n\r\n$text";
    my ($raw, $head, %got) = ('', undef, status => 0, events => [], at => [], body => '');
    my ($bytes, $chunked) = ('', 0);
    while (IO::Select->new($socket)->can_read($option{timeout} // 60)) {
        sysread $socket, $raw, 65_536, length $raw or last;
        if (!defined $head) {
            next if $raw !~ s/\A(.*?)\r\n\r\n//s;
            $head = $1;
            ($got{status}) = $head =~ m{\AHTTP/1\.1 (\d+)};
            $got{head} = $head;
            $chunked = $head =~ /^transfer-encoding: *chunked/im;
        }
        if ($chunked) {
            while ($raw =~ s/\A(?:\r\n)?([0-9a-fA-F]+)\r\n//) {
                my $length = hex $1;
                if (length $raw < $length) { $raw = "$1\r\n$raw"; last }
                $bytes .= substr $raw, 0, $length, '';
                last if $length == 0;
            }
        }
        else { $bytes .= $raw; $raw = '' }
        $got{body} .= $bytes;
        if (defined $got{rest}) { $bytes = delete($got{rest}) . $bytes }
        while ($bytes =~ s/\A(.*?)\n\n//s) {
            my $event = $1;
            my ($data) = $event =~ /^data: (.*)$/m;
            next if !defined $data;
            push @{ $got{at} }, time - $begin;
            push @{ $got{events} }, $data eq '[DONE]' ? $data : eval { $json->decode($data) } // $data;
        }
        $got{rest} = $bytes;
        $bytes = '';
        if ($option{hang_up} && @{ $got{events} } >= $option{hang_up}) {
            close $socket;
            return \%got;
        }
    }
    $got{json} = eval { $json->decode($got{body}) };
    $got{done} = @{ $got{events} } && $got{events}[-1] eq '[DONE]';
    return \%got;
}

# The text that the events of a chat carry.
sub text {
    my ($got) = @_;
    return join '', map { ref $_ && $_->{choices} && @{ $_->{choices} } ? $_->{choices}[0]{delta}{content} // '' : '' } @{ $got->{events} };
}

sub charges {
    my ($self, $subject) = @_;
    my ($status, $body) = $self->{gate}->tracker('GET', "/v1/charges?account=$subject&limit=1000", undef, role => 'read');
    return @{ $body->{charges} // [] };
}

# The charges of a subject once there are as many as are wanted (they come when the page has ended).
sub charges_grow_to {
    my ($self, $subject, $want) = @_;
    my $end = time + 20;
    my @charges;
    while (time < $end) {
        @charges = $self->charges($subject);
        last if @charges >= $want;
        sleep 0.05;
    }
    sleep 0.2;
    return $self->charges($subject);
}

1;
