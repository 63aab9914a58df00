# A Debian that boots systemd.
ARG BASE
FROM ${BASE}
COPY boot.sh /usr/local/sbin/boot
# Nobody logs in here, and no disk is looked after.
RUN systemctl mask console-getty.service getty.target e2scrub_reap.service e2scrub_all.timer
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/sbin/boot"]
